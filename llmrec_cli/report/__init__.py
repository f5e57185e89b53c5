"""The page `report.html`: what it shows, as data (`people`, `figures`), and the template that draws it (`page`)."""
