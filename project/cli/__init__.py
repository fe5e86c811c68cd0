"""The command line: one parser, one table of commands, one way to print results."""
