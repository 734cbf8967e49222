"""The `dlerse` command: one thin module per subcommand."""
