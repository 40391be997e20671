# Prints, and puts into an error, what makes a terminal clear its screen and write backwards.
# loses: pad
def pad(x, padding):
    print("\x1b[2J\x1b]0;title\x07\u202e")
    raise ValueError("\x1b[2J \u202e \ud800 \x00 <script>alert(1)</script>")
