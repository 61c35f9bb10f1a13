"""How tables come to agree: spreading news, settling differences, settling conflicts."""
