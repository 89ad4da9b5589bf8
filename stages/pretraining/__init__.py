"""Training of the bundled network, and the accuracy of its features on other images."""
