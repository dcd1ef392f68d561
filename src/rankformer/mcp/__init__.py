"""A server of the Model Context Protocol, by which agents inspect, embed, annotate and perturb."""
