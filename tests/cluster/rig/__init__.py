"""A Kubernetes cluster for tests: from `KUBECONFIG`, made by kind, or built on this machine from its parts."""
