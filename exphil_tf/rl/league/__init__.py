"""A league: policies that learn against each other's past, and how strong each of them is."""
