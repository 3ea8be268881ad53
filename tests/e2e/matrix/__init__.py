"""The matrix: every client's dialect before every provider's, in every scenario, by the SDKs over sockets."""
