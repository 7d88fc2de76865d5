"""Trust on paper: what coordinator and hospitals sign, send each other and compare by telephone, before a study."""
