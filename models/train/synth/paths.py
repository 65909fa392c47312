"""Where things are."""
import os

# The shipped networks and their manifests.
MODELS = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
