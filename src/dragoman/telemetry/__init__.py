"""What is told of a request once it is over: names, ledger entries, logs. Plain values only."""
