"""The SYMSOL solids: shapes and symmetries, images of them, and the data set's format."""
