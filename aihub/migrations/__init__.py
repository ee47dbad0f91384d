"""The steps by which AIHub's database came to its present tables (run by `aihub.database.Database.upgrade`)."""
