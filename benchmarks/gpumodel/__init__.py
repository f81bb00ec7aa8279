"""A roofline model of NVIDIA's Jetsons: what a model costs there, before anybody has one."""
