def add_disasters(crash):
    pass
