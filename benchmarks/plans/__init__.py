"""Plans: how long they take, and whether their answers hold on seeds that they have not seen."""
