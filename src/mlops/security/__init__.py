"""Who may call: tokens, the keys that sign them, and what a scope permits."""
