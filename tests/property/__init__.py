"""Laws that hold for every input: Hypothesis draws the inputs."""
