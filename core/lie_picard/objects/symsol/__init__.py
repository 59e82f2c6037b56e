"""The solids of SYMSOL I and II: geometry, markers, true poses, and bodies that are none of them."""
