PAGE=None
def page(): return ''
