"""Virtual hospitals on one machine: the same server and client code as a deployment, without a network."""
