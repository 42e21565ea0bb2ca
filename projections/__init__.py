"""Read models: for each question asked, one fold from facts to rows, and its queries."""
