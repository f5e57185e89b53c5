"""What is known of users: interests, affinities, segments and topics."""
