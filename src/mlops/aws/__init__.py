"""The only code that talks to AWS: adapters for the ports that the domain declares."""
