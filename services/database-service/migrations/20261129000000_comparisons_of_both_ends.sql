-- Beside the tables that were equal, what the copy looked like is kept: {"tables": […], "copy": {…}}. A move on its way reads its tables again.
UPDATE moves SET compared = NULL WHERE jsonb_typeof(compared) = 'array';
