"""Many lifecycles or connections must leave nothing behind."""
