"""Do files say that they are synthetic? IPTC marks and C2PA manifests, read back."""
