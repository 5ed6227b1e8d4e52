"""Who may do what: access keys, asked for in front of every handler."""
