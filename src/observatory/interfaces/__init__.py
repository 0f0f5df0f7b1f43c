"""What people and programs see of the system: the web page and the command line."""
