"""The solids of SYMSOL I and II: geometry, markers, true poses, and bodies that are none of them."""

from lie_picard.objects.catalogue import Catalogue
from lie_picard.objects.symsol.solids import BUILDERS

CATALOGUE = Catalogue("symsol", BUILDERS)
