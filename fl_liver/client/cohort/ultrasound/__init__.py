"""From a screen of an ultrasound machine to the image alone."""
