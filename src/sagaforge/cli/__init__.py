"""The `holodeck` command line: a client of the bundle's HTTP API, and a look at this machine."""
