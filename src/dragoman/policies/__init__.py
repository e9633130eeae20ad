"""What the decide stage asks about a request, one question a module. Plain functions, no I/O."""
