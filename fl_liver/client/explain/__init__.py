"""Why a network says what it says: heat maps, features and clusters of a hospital's own patients. Nothing is sent."""
