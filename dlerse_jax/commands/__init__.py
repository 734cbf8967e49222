"""The `dlerse` command: one thin module a subcommand."""
