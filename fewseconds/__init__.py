"""fewseconds: does paying an electricity bill by QR finish in a few seconds, for a whole city?"""
