"""A Kubernetes cluster for tests: taken from `KUBECONFIG`, made by kind, or built on this machine from its components."""
