"""People's rights over their data: what is held of somebody, and how somebody leaves."""
