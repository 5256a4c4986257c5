"""What every honest table needs beside gradients: random and evolutionary search."""
