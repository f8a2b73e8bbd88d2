"""Students and teachers: the networks themselves, with every width a parameter."""
