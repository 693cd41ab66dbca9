"""What a table has to choose: parameters that become a table, from three numbers to all of them."""
