"""`make chaos`: everything fails at random for a while, and then all of it has to add up.

apis.py       the clients' dialects: what they ask, and what a well-formed answer or error is
clients.py    who asks all the while, and what each got
setting.py    the policy, in the variants that are put into force under way
troubles.py   what goes wrong and when, all of it from one seed; and who does it
ledgers.py    what the ledger, the simulator and the store have, beside what the clients got
leaks.py      what is left of it all once nobody asks any more
"""
