"""How the membership tables of all nodes become equal: rumours, digests, and the settling of conflicts."""
