"""From a hospital's folder of DICOM and its clinical table to arrays that a model trains on, every exclusion named."""
