"""Where the lesion is: boxes, masks, segmentations and contours."""
