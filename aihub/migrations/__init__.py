"""The steps by which AIHub's database came to its present tables (run by `aihub.store.Store.upgrade`)."""
