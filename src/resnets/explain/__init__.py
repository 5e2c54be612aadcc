"""Why a network says what it says: heat maps that are checked, the nearest photos it has learnt
from, and a map of its features."""

PAGE, PICTURE = ".html", ".png"
