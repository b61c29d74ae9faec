"""Reading and writing in directories whose contents may be anybody's."""
