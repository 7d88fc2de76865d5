"""Images fetched from the hospital's archive over DICOMweb."""
