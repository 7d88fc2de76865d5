"""`fl-liver site check`: every defect named, on a page for people."""
